import Foundation
import Keyswap

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

// What the README shows, so that it compiles; some of it is run, too. Its first example is a program of its own.

func told(_ keys: KeySwap) async {
    for await event in keys.events {
        switch event {
        case .swapped(let swap): print("\(swap.to) is in use")
        case .fetchFailed(let failure): print("again in \(failure.retryIn): \(failure.error)")
        default: print(event)
        }
    }
}

func order(_ api: Client, _ body: Data) async throws {
    var order = URLRequest(url: URL(string: "https://api.example.com/v1/orders")!)
    order.httpMethod = "POST"
    let (receipt, _) = try await api.upload(for: order, from: body)
    let (bytes, _) = try await api.bytes(from: "/v1/prices")
    for try await part in bytes.chunks { print(part.count, "bytes of", receipt.count) }
}

func device(_ certificate: URL) throws -> [Source] {
    let url = URL(string: "https://keys.example.com/keyswap/v1/sets/trading")!
    #if canImport(Security)
    let source = try Source.endpoint(url, bootstrapStorage: Keychain(service: "com.example.prices"))
    #else
    let source = try Source.endpoint(url, bootstrapFile: "/run/secrets/bootstrap")
    #endif
    let identified = try Source.endpoint(url, noBootstrap: true, clientCertificateFile: certificate.path)
    return [source, identified]
}

func get(_ url: URL, by library: Library, with authorizer: Authorizer) async throws -> Library.Response {
    let attempt = try authorizer.begin(url)
    var response: Library.Response?
    while true {
        switch try attempt.step {
        case .send:
            let patch = try await attempt.apply(method: "GET", url: url)
            let got = try await library.get(patch.revealURL(url), headers: patch.reveal())
            try attempt.received(status: got.status, headers: got.headers)
            response = got
        case .wait:
            try await attempt.wait()
        case .fail(let error):
            throw error
        case .return, .needBody:  // Nothing but a classifier asks for the body.
            return response!
        }
    }
}

let signed = Scheme.sign { credential, request in
    let time = String(Int(request.now.timeIntervalSince1970 * 1000))
    let text = "\(request.method) \(request.url.path) \(time) \(request.body?.base64EncodedString() ?? "")"
    let mac = hmac(text, key: credential.reveal("secret") ?? "")
    return Signature(headers: ["x-api-key": credential.reveal() ?? "", "x-time": time, "x-signature": mac])
}

/// What stands for a library: it knows nothing of keys, and follows no redirect.
struct Library: Sendable {
    struct Response: Sendable {
        let status: Int
        let headers: [String: String]
        let body: Data
    }

    func get(_ url: URL, headers: [String: String]) async throws -> Response {
        var request = URLRequest(url: url)
        for (name, value) in headers { request.setValue(value, forHTTPHeaderField: name) }
        let (body, status) = try await plainly(request)
        return Response(status: status, headers: [:], body: body)
    }
}

/// What stands for that of CryptoKit, which is not on every platform.
func hmac(_ text: String, key: String) -> String { Data("\(key) \(text)".utf8).base64EncodedString() }
