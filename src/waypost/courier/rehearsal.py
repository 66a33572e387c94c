"""Rendering for those who never send: a postback as its first attempt would write it.

Owns: that form. Reads catalog versions through a renderer. Never resolves a secret and never signs: what a secret would
fill, and the proof of who sends, are left out, and two catalogs that differ in nothing else render alike.
"""

from collections.abc import Callable

from waypost.courier.render import Renderer
from waypost.errors import WaypostError
from waypost.model.frames import AttemptReason, PostbackOut
from waypost.ports.sender import Rehearsed


def render_of(renderer: Renderer) -> Callable[[PostbackOut], Rehearsed]:
    """A function that renders; what cannot be rendered comes back as its problem."""

    def render(out: PostbackOut) -> Rehearsed:
        try:
            first = AttemptReason.CORRECTION if out.corrects else AttemptReason.FIRST
            at_ms = out.created_ms
            own = renderer.own_of(out)
            if out.batched:
                rendered = renderer.render_batch([out], attempt=1, reason=first, first_ms=at_ms, own=own)
            else:
                rendered = renderer.render(out, attempt=1, reason=first, first_ms=at_ms, own=own)
        except WaypostError as error:
            return Rehearsed("", "", (), "", f"{error.code}: {error.detail}")
        body = rendered.body.decode("utf-8", "replace")
        return Rehearsed(rendered.method, rendered.url, tuple(rendered.headers), body)

    return render
