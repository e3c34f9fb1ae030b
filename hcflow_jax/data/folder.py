"""The images of a folder as training pairs."""

import os
from pathlib import Path

from hcflow_jax import images, paths
from hcflow_jax.data.contents import Part
from hcflow_jax.data.messages import listed, too_small
from hcflow_jax.data.source import CACHE_BYTES, Source, crop
from hcflow_jax.errors import counted
from hcflow_jax.images import header_sizes, read_uint8


class FolderSource(Source):
    """The images of a folder; ImageError naming every one that cannot be used.

    `recursive`: those in its folders too.
    """

    def __init__(
        self,
        path: str | Path,
        scale: int,
        cache_bytes: int = CACHE_BYTES,
        recursive: bool = False,
    ):
        super().__init__(scale, cache_bytes)
        files = images.list_images(path, recursive)
        sizes = header_sizes(files)
        bad = [str(size) for size in sizes if isinstance(size, Exception)]
        bad += [
            f"{file} is {size[1]}×{size[0]}, smaller than the scale {scale}; remove it"
            for file, size in zip(files, sizes, strict=True)
            if not isinstance(size, Exception) and min(size) < scale
        ]
        if bad:
            raise images.ImageError(listed(bad))
        top = files[0].parent if paths.is_file(paths.located(path)) else paths.located(path)
        self._folder = paths.normal(top)
        self._names = [os.fspath(file.relative_to(top)) for file in files]
        self._sizes = [(h // scale, w // scale) for h, w in sizes]  # type: ignore[misc]  # no errors

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"FolderSource({self._folder}, {counted(len(self), 'image')}, ×{self.scale})"

    def name(self, index: int) -> str:
        return os.path.join(self._folder, self._names[index])

    def size(self, index: int) -> tuple[int, int]:
        return self._sizes[index]

    def check_patch(self, size: int) -> None:
        bad = [
            too_small(self.name(i), lr_size, size, self.scale)
            for i, lr_size in enumerate(self._sizes)
            if min(lr_size) < size
        ]
        if bad:
            raise images.ImageError(listed(bad))

    def _parts(self):
        return [Part(self.name(i), range(i, i + 1)) for i in range(len(self))]

    def _identity(self, digests):
        return [list(pair) for pair in zip(self._names, digests, strict=True)]

    def _load(self, index):
        hr = crop(read_uint8(self.name(index)), self.scale)
        expected = tuple(self.scale * side for side in self._sizes[index])
        if hr.shape[:2] != expected:
            raise images.ImageError(
                f"{self.name(index)} is {hr.shape[1]}×{hr.shape[0]} but its header says "
                f"{expected[1]}×{expected[0]}; export it again"
            )
        return {"hr": hr}
