"""Networks: found, loaded, or built tiny."""
