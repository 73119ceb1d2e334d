import Foundation
import Keyswap
import XCTest

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// A test of behaviours, beside `URLSession` alone.
///
/// `KEYSWAP_BEHAVIOURS=FILE` writes what came of each, one line of JSON. What the library beneath cannot do is a limit,
/// and shown by the library alone.
class BehaviourCase: XCTestCase {
    /// What `run` returns is why the library beneath cannot, which was then seen of the library alone.
    func behaviour(_ name: String, _ run: () async throws -> String?) async throws {
        var (outcome, limit): (String, String?) = ("failed", nil)
        let failures = testRun?.failureCount ?? 0
        defer {
            if (testRun?.failureCount ?? 0) > failures { outcome = "failed" }
            let line: [String: Any] = [
                "adapter": "swift", "behaviour": name, "outcome": outcome, "limit": limit ?? NSNull(),
            ]
            XCTAssertNoThrow(try append(line, toFileOf: "KEYSWAP_BEHAVIOURS"))
        }
        limit = try await run()
        outcome = "passed"
    }

    func keyed(
        _ url: String, _ others: String..., classifier: Classifier? = nil, plainHTTPAllowed: Bool = false,
        wait: Duration = .seconds(10)
    ) async throws -> Keyed {
        Keyed(
            client: try Client(
                try await rotating(wait: wait), baseURL: URL(string: url)!, scheme: .header(spelled),
                allowedOrigins: others.map { URL(string: $0)! }, classifier: classifier,
                plainHTTPAllowed: plainHTTPAllowed, retries: 0))
    }

    func request(_ url: String, _ method: String = "GET", _ headers: [String: String] = [:]) -> URLRequest {
        var request = URLRequest(url: URL(string: url)!)
        request.httpMethod = method
        for (name, value) in headers { request.setValue(value, forHTTPHeaderField: name) }
        return request
    }

    /// Whether a request carries the key that is accepted.
    static func isAccepted(_ heard: Heard) -> Bool { heard.value(spelled) == accepted }

    /// All but the key, and what says how it is framed.
    func comparable(_ heard: Heard) -> [String] {
        let headers = heard.headers.filter { $0.name.lowercased() != spelled.lowercased() }.map { "\($0.name): \($0.value)" }
        return [heard.line] + headers.sorted() + [String(decoding: heard.body, as: UTF8.self)]
    }
}
