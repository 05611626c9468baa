"""Tables, figures and facts of pages, made from results; the page itself is core's."""
