"""The template language of postbacks and offer URLs: parsed and compiled once, rendered often; pure."""
