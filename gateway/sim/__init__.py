"""The bundled simulated provider: real HTTP, made-up words, honest usage."""
