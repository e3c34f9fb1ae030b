"""The networks of the app: loaded once, in the thread of the jobs."""

from collections.abc import Sequence


class Networks:
    """Those of `hcflow upscale` and `hcflow restore`, the shipped ones or those of checkpoints.

    Args:
      paths: of checkpoints, of different tasks; of the other task the shipped one is taken.
    """

    def __init__(self, paths: Sequence[str] = ()):
        self._paths = list(paths)
        self._given: dict | None = None
        self._loaded: dict = {}

    def check(self) -> None:
        """CheckpointError, or another UserError, where a checkpoint cannot be used."""
        from hcflow_jax import checkpoints, sampling
        from hcflow_jax.errors import UserError

        self._given = {}
        for path in self._paths:
            task = checkpoints.load_model(path)[0].task
            if task in self._given:
                raise UserError(f"{self._given[task]} and {path} are both for {task}; name one")
            self._given[task] = path
            self._loaded[task, None, False] = sampling.load(path, task)

    def path(self, task: str) -> str | None:
        """The checkpoint of a task; None for the shipped one."""
        if self._given is None:
            self.check()
        return self._given.get(task)

    def get(self, task: str, jpeg: bool = False, scale: float | None = None) -> tuple:
        """(model, params) of "sr" or "rescaling".

        Args:
          jpeg: of the shipped ones those whose small pictures are JPEGs, where there are such.
          scale: of the shipped ones the smallest that gives as much; None stands for ×4.
        """
        from hcflow_jax import sampling

        path, chosen = self.path(task), None
        if path is None:
            usual = sampling.DEFAULT_SCALE
            chosen = [*sampling.shipped_scales(task, scale or usual), usual][0]
        jpeg = jpeg and (task, chosen) in sampling.SHIPPED_FOR_JPEG
        if (task, chosen, jpeg) not in self._loaded:
            self._loaded[task, chosen, jpeg] = sampling.load(path, task, chosen, jpeg=jpeg)
        return self._loaded[task, chosen, jpeg]

    def load(self) -> dict:
        """Loads what most first jobs need; {"sr": {"scale", "levels", "most"}}.

        "most" is the largest scale that can be asked for.
        """
        from hcflow_jax import sampling

        model, _ = self.get("sr")
        shipped = self.path("sr") is None
        most = sampling.shipped_scales("sr")[-1] if shipped else model.scale
        return {"sr": {"scale": model.scale, "levels": len(model.levels), "most": most}}

    def warm(self) -> None:
        """Draws a picture as large as most first results are, so that its program is there."""
        import numpy as np

        from hcflow_jax import sampling

        model, params = self.get("sr")
        lr = np.full((512 // model.scale, 512 // model.scale, 3), 0.5, np.float32)
        sampling.sample(model, params, lr, 0.0, back_project=sampling.BACK_PROJECTION)
