"""Manifests as a cluster's own tools write them, and as a hand leaves them."""

import pytest

from components.common.cluster_files import object_of
from components.common.errors import BadInput


@pytest.mark.parametrize("metadata", ["", "metadata:\n", "metadata: here\n", "metadata: {name: lamps}\n"])
def test_an_object_without_its_namespace_is_refused(tmp_path, metadata):
    manifest = tmp_path / "job.yaml"
    manifest.write_text(f"kind: PyTorchJob\n{metadata}")
    with pytest.raises(BadInput, match="must hold one PyTorchJob with its namespace"):
        object_of(manifest, "PyTorchJob")
