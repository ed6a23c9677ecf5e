"""The files of the explorer: vendored code, texts, and rules that protect against injected code."""

import hashlib
import re
from pathlib import Path

import pytest

from facade.explorer.files import WEB, Files

MODULES = sorted(path for path in WEB.rglob("*.js") if "vendor" not in path.parts)


def test_the_vendored_library_is_the_published_one_with_its_licences() -> None:
    # htm/preact/standalone.module.js of htm 3.1.1 in the npm registry, which contains Preact
    digest = hashlib.sha256((WEB / "vendor/htm-preact-standalone.js").read_bytes()).hexdigest()
    assert digest == "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7"
    assert "Apache License" in (WEB / "vendor/LICENSE-htm.txt").read_text()
    assert "The MIT License" in (WEB / "vendor/LICENSE-preact.txt").read_text()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(WEB).as_posix())
def test_a_module_turns_no_text_into_html_or_code(module: Path) -> None:
    words = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|javascript:"
    assert not re.search(words, module.read_text())


def test_all_texts_are_in_one_file_and_used() -> None:
    keys = re.findall(r'^  "?([\w.]+)"?:', (WEB / "texts/en.js").read_text(), re.MULTILINE)
    texts = set(keys)
    assert len(texts) == len(keys)  # the last one of two equal keys would replace the other
    known = {re.sub(r"\.(one|other)$", "", key) for key in texts}
    code = "".join(module.read_text() for module in MODULES if module.parent.name != "texts")
    named = set(re.findall(r"""\bt\(\s*["']([\w.]+)["']""", code))
    assert named - known == set()
    # The other keys are named elsewhere, such as titles of pages, or begin with a prefix in a template.
    prefixes = tuple(re.findall(r"`([\w.]+\.)\$\{", code))
    quoted = set(re.findall(r"""["']([\w.]+)["']""", code))
    assert {key for key in known - named - quoted if not key.startswith(prefixes)} == set()


def test_the_page_has_no_scripts_or_styles_of_its_own() -> None:
    page = (WEB / "index.html").read_text()
    assert "<style" not in page
    assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) == [""]
    assert not re.search(r"\s(style|on\w+)=", page)


def test_modules_are_loaded_with_everything_that_they_import() -> None:
    files = Files()
    loaded = files.imported_by("app.js")
    assert loaded[0] == "app.js"
    assert {"vendor/htm-preact-standalone.js", "texts/en.js", "components/layout.js", "lib/api.js"} <= set(loaded)
    assert set(loaded) <= set(files.by_path)


def test_every_static_import_has_a_file() -> None:
    files = Files()
    for name in files.by_path:
        if name.endswith(".js"):
            assert set(files.imported_by(name)) <= set(files.by_path)


def test_the_digest_depends_on_every_file(tmp_path: Path) -> None:
    def digest() -> str:
        return Files(tmp_path).digest

    (tmp_path / "a.js").write_text("1")
    first = digest()
    assert digest() == first
    (tmp_path / "b.js").write_text("")
    second = digest()
    (tmp_path / "b.js").rename(tmp_path / "c.js")
    third = digest()
    (tmp_path / "a.js").write_text("2")
    assert len({first, second, third, digest()}) == 4
