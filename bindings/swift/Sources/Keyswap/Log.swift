import KeySwapNative

/// The log of this package. No line of it holds a key.
public enum Log {
    /// How much a line matters.
    public enum Level: Sendable {
        /// Something does not work.
        case error
        /// Something may soon not work.
        case warning
        /// What happened.
        case info
        /// For whoever looks closely.
        case debug
    }

    /// From now on each line goes there, with the name of the event that it tells; nowhere, if there is no handler. It
    /// is called on a thread that serves the log alone, and may block.
    ///
    /// - Throws: `KeyswapError` with the code `unavailable` if no thread can be started.
    public static func install(
        _ handler: (@Sendable (_ level: Level, _ event: String, _ text: String) -> Void)?
    ) throws {
        try calling { try setLogger(logger: handler.map(Writing.init)) }
    }
}

private final class Writing: NativeLogger {
    private let handler: @Sendable (Log.Level, String, String) -> Void

    init(_ handler: @escaping @Sendable (Log.Level, String, String) -> Void) { self.handler = handler }

    func log(level: NativeLevel, event: String, text: String) throws {
        let level: Log.Level =
            switch level {
            case .error: .error
            case .warn: .warning
            case .info: .info
            case .debug: .debug
            }
        handler(level, event, text)
    }
}
