"""Where tiles lie: on the grid, at named places, inside regions."""
