"""All configuration: parsed with places, validated whole, compiled; pure but for timezone data."""
