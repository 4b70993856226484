"""The receiver's disk: files arrive beside their names, are verified, made durable, and renamed."""
