// A program that lives through a rotation: the key is cut, and the next request is sent again with the new one.
//
// KEYSWAP_EXAMPLE is the line of JSON that `keyswap-endpoint serve` prints when it is ready.
import Foundation
import Keyswap

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

let line = ProcessInfo.processInfo.environment["KEYSWAP_EXAMPLE"] ?? "{}"
let told = try JSONSerialization.jsonObject(with: Data(line.utf8)) as! [String: Any]
let (setURL, apiURL) = (URL(string: told["set_url"] as! String)!, URL(string: told["api_url"] as! String)!)

let keys = try await KeySwap.follow(
    .endpoint(setURL, bootstrap: (told["bootstrap"] as! String)), timeout: .seconds(10))
let api = try Client(keys, baseURL: apiURL, scheme: .header("x-api-key"))

@MainActor func price() async throws -> String {
    let (data, response) = try await api.data(from: "/v1/price/BTC")
    guard response.statusCode == 200 else { throw URLError(.userAuthenticationRequired) }
    let json = try JSONSerialization.jsonObject(with: data) as! [String: Any]
    return json["credential"] as! String
}

print("\(try await price()) was accepted")

// The operator cuts the key, with no overlap.
var cut = URLRequest(url: URL(string: "\(told["control_url"] as! String)/step")!)
cut.httpMethod = "POST"
cut.httpBody = Data(#"{"do": "cut"}"#.utf8)
_ = try await Client(keys, baseURL: apiURL).data(for: cut)

print("\(try await price()) was accepted, \(keys.stats.extraSends) request was sent again")
print("in use: \(try keys.current)")
await keys.shutdown()
