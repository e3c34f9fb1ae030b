"""How good results are: figures of papers, LPIPS, diversity; reports of whole test sets."""
