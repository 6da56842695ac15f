"""The border between the engine and a method: methods run in processes of their own and cannot spoil each other."""
