# What only the native module imports, where PyInstaller sees nothing.
hiddenimports = [
    "keyswap._bridge",
    "keyswap._errors",
    "keyswap._functions",
    "keyswap._records",
    "keyswap._schemes",
]
