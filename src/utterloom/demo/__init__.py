"""The demo's spoken corpus, made offline with a speech synthesiser that pip installs (`utterloom[tts]`)."""
