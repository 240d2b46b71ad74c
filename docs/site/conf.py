"""How Sphinx makes a site of the repository's Markdown: `tools/site` calls it with the repository's root as its source.

The pages are written for whoever reads them in the repository, and stay plain Markdown. That they are there, and where in
the side bar, is said once, by `docs/index.md`: its headings and links are the table of contents. A page that it does not
name is a warning, and `tools/site` lets none pass.
"""

import posixpath
import re

project = "colearn"
extensions = ["myst_parser"]
root_doc = "docs/index"
source_suffix = {".md": "markdown"}
include_patterns = ["**.md"]
# Builds, and what explains test data to whoever looks at it.
exclude_patterns = ["target", ".git", "**/target", "vendor", "**/tests/**", "tests/**", "python/build", ".*", "**/.*"]

# Anchors are what they are in the repository's browsers: words of the heading, in lower case, with hyphens.
myst_heading_anchors = 6
# A code block may be cut short with `...`: what cannot be coloured is shown plain.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = "colearn"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_last_updated_fmt = None
# The root of a web server leads to the first page.
html_extra_path = ["first"]

LINK = re.compile(r"\]\(([^)#\s]+\.md)(?:#[^)]*)?\)")


def contents(app, docname, source):
    """Appends to the first page what its own headings and links say about the order of all pages."""
    if docname != root_doc:
        return
    placed = {root_doc}
    for section in re.split(r"^## ", source[0], flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        pages = []
        for path in LINK.findall(body):
            page = posixpath.normpath(posixpath.join("docs", path)).removesuffix(".md")
            # A page that is named twice has its place where it is named first.
            if page not in placed:
                placed.add(page)
                pages.append("/" + page)
        if pages:
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n" + "\n".join(pages) + "\n```\n"


def setup(app):
    app.connect("source-read", contents)
