import time

import keyswap

keys = keyswap.KeySwap("https://keys.example.com/keyswap/v1/sets/trading")
with keyswap.Client(keys, base_url="https://api.example.com", scheme=keyswap.Header("x-api-key")) as api:
    while True:
        price = api.get("/v1/price/BTC").raise_for_status().json()
        print(price, "read with", keys.current.id)
        time.sleep(1)
