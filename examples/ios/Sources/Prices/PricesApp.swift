#if canImport(SwiftUI)
import Keyswap
import SwiftUI

/// What an app holds for as long as it lives: one handle, and one client around it.
@MainActor
final class Prices: ObservableObject {
    @Published private(set) var line = "..."
    private let keys: KeySwap
    private let api: Client

    init() throws {
        keys = try KeySwap(.endpoint(URL(string: "https://keys.example.com/keyswap/v1/sets/trading")!), name: "trading")
        api = try Client(keys, baseURL: URL(string: "https://api.example.com")!, scheme: .header("x-api-key"))
    }

    func load() async {
        do {
            let (data, response) = try await api.data(from: "/v1/price/BTC")
            line = "\(response.statusCode): \(String(decoding: data, as: UTF8.self))"
        } catch {
            line = error.localizedDescription
        }
    }

    /// A device that slept is looked after at once.
    func moved(to phase: ScenePhase) {
        switch phase {
        case .active: keys.enteredForeground()
        case .background: keys.enteredBackground()
        default: break
        }
    }
}

public struct PricesView: View {
    @Environment(\.scenePhase) private var phase
    @StateObject private var prices: Prices

    public init() throws {
        let prices = try Prices()
        _prices = StateObject(wrappedValue: prices)
    }

    public var body: some View {
        Text(prices.line)
            .task { await prices.load() }
            .onChange(of: phase) { prices.moved(to: $0) }
    }
}
#endif
