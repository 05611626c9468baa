"""Which sets are compared, how they are drawn, and what is said of them."""
