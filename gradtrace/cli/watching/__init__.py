"""The live view behind `gradtrace watch`: what is known of a growing trace, and the screens that show it."""
