"""Pages of the service for people: one style, and a policy that lets them load and execute nothing else."""

import base64
import hashlib
import html
from collections.abc import Mapping

_STYLE = """
:root { color-scheme: light dark; --text: #1c2630; --soft: #56636f; --line: #d6dde3; --page: #f5f7f9; --card: #fff;
  --link: #0b5a9c }
@media (prefers-color-scheme: dark) { :root { --text: #e6ebef; --soft: #a3b0bb; --line: #33404b; --page: #141b21;
  --card: #1c252d; --link: #7cc0f7 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.55 system-ui, sans-serif }
main { max-width: 46rem; margin: 0 auto; padding: 3.5rem 1.25rem }
h1 { margin: 0; font-size: 2rem; letter-spacing: -.02em }
p { margin: .4rem 0 0; color: var(--soft) }
h2 { margin: 2.2rem 0 .7rem; font-size: 1.05rem }
ul { margin: 0; padding: 0; list-style: none; border: 1px solid var(--line); border-radius: .6rem;
  background: var(--card) }
li { padding: .75rem 1rem }
li + li { border-top: 1px solid var(--line) }
li span { display: block; color: var(--soft); font-size: .93rem }
a { color: var(--link); font-weight: 600; text-underline-offset: .2em }
a:focus-visible, button:focus-visible { outline: 3px solid var(--link); outline-offset: 3px; border-radius: .2rem }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere }
button { margin: .3rem; padding: .5rem 1rem; border: 1px solid var(--line); border-radius: .4rem; background: none;
  color: var(--link); font: inherit; font-weight: 600; cursor: pointer }
"""

_NOTHING = "'none'"
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def html_page(title: str, content: str, *, forms: str = "") -> tuple[bytes, Mapping[str, str]]:
    """Return a page and its headers.

    Args:
        title: plain text.
        content: HTML of the main element; everything from outside must be escaped.
        forms: CSP sources to which its forms may be sent, directly or by redirects.
    """
    policy = (
        f"default-src 'none'; style-src 'sha256-{_DIGEST}'; "
        f"base-uri 'none'; form-action {forms or _NOTHING}; frame-ancestors 'none'"
    )
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main>{content}</main></body></html>"
    )
    return page.encode(), {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
    }
