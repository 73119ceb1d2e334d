#if BENCH
import Foundation
import Keyswap
import XCTest

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// What a request through `URLSession` costs with keyswap and without it, in CPU time of the whole process:
/// `bindings/swift/bench`. It is no test, and compiled for that alone.
///
/// The two take turns in short slices, so that a machine that has other work does so to both.
final class RequestBench: XCTestCase {
    private let slice = 200
    private let rounds = 40
    private let goal = 1.05

    func testURLSession() async throws {
        let world = try World()
        let keys = try await world.ready()
        let key = try keys.current.reveal() ?? ""
        let client = try Client(keys, baseURL: world.api, scheme: .header("x-api-key"))
        let url = world.api.appendingPathComponent("v1/price")
        let session = URLSession(configuration: .ephemeral)

        func without() async throws {
            var request = URLRequest(url: url)
            request.setValue(key, forHTTPHeaderField: "x-api-key")
            let (data, _) = try await session.data(for: request)
            if data.isEmpty { throw Broken("no answer") }
        }
        func having() async throws {
            let (data, _) = try await client.data(for: URLRequest(url: url))
            if data.isEmpty { throw Broken("no answer") }
        }
        _ = try await (cost(without), cost(having))
        var samples = [(bare: Double, keyed: Double)]()
        for nth in 0..<rounds {
            // Who comes first changes.
            if nth % 2 == 0 {
                let bare = try await cost(without)
                samples.append((bare, try await cost(having)))
            } else {
                let keyed = try await cost(having)
                samples.append((try await cost(without), keyed))
            }
        }
        let (bare, keyed) = (median(samples.map(\.bare)), median(samples.map(\.keyed)))
        let ratio = median(samples.map { $0.keyed / $0.bare })
        let verdict = ratio <= goal ? "ok    " : "MISSED"
        let shown = "URLSession %.1f us a request, with keyswap %.1f: %.3f <= %.2f"
        print(verdict, String(format: shown, bare, keyed, ratio, goal))
        keys.close()
        world.stop()
    }

    /// Microseconds a request.
    private func cost(_ send: () async throws -> Void) async throws -> Double {
        let began = spent()
        for _ in 0..<slice { try await send() }
        return (spent() - began) / Double(slice)
    }

    private func spent() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) * 1e6 + Double(time.tv_nsec) / 1e3
    }

    private func median(_ of: [Double]) -> Double { of.sorted()[of.count / 2] }
}
#endif
