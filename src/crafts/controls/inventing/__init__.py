"""Nuclear layouts measured, fitted and edited."""
