"""What Python tells of the class: signatures, help, docstrings."""

import inspect
import pydoc

from outcome import PROPERTIES

from stories.registry import story


@story
def signature(N_SET):
    class Own(N_SET):
        def __init__(self, number: int = 7) -> None: ...

    class New(N_SET):
        def __new__(cls, text): ...

    class Meta(type):
        def __call__(cls, anything): ...

    class Called(N_SET, metaclass=Meta):
        pass

    class Stated(N_SET):
        __signature__ = inspect.Signature()

    class Plain(N_SET):
        pass

    class OfOwn(Own):
        pass

    classes = (N_SET, Plain, Own, OfOwn, New, Called, Stated)
    return [str(inspect.signature(c)) for c in classes] + [hasattr(N_SET(), "__signature__")]


@story
def signature_of_init(N_SET):
    return str(inspect.signature(N_SET.__init__))


@story
def help_can_be_had(N_SET):
    text = pydoc.render_doc(N_SET, renderer=pydoc.plaintext)
    return all(f"{name}" in text for name in PROPERTIES)


@story
def documented(N_SET):
    return [name for name in PROPERTIES if not inspect.getdoc(getattr(N_SET, name))]
