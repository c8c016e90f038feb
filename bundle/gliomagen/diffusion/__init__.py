"""The generator: Haar basis, noising process, condition, objective, denoiser, samplers, inferer."""
