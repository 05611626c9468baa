"""Image files of other people: one opener, one list of reasons why a file cannot be used."""
