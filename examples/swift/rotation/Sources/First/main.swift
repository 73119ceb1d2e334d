import Foundation
import Keyswap

let keys = try await KeySwap.follow(.endpoint(URL(string: "https://keys.example.com/keyswap/v1/sets/trading")!))
let api = try Client(keys, baseURL: URL(string: "https://api.example.com")!, scheme: .header("x-api-key"))

let (data, response) = try await api.data(from: "/v1/price/BTC")
print(response.statusCode, String(decoding: data, as: UTF8.self))
