"""The stories by their names."""

STORIES = {}


def story(function):
    """Call the function with each N_SET; it must return the same."""
    STORIES[function.__name__.strip("_").replace("_", " ")] = function
    return function
