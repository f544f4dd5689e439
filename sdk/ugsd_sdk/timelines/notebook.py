"""A timeline as HTML for a notebook: its picture, which has the summaries as text as well."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

from ugsd_privacy.output.plain_text import plain_line

if TYPE_CHECKING:
    from ugsd_sdk.timelines.timeline import Timeline

__all__ = ["timeline_html"]


def timeline_html(timeline: Timeline) -> str:
    """Return the timeline as a fragment of HTML, which has no script and loads nothing."""
    picture = base64.b64encode(timeline.to_svg().encode()).decode()
    text = escape(plain_line(str(timeline), most=2000))
    source = f"data:image/svg+xml;base64,{picture}"
    return f'<div><img src="{source}" alt="{text}" style="max-width:100%"></div>'
