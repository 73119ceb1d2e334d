import Foundation

/// The body of a response, byte by byte as it comes: `for try await byte in bytes`. Its `chunks` are the same in larger
/// parts. It is read once. When nothing holds it any more, its connection is dropped, unless all of it was read.
public struct ResponseBytes: AsyncSequence, Sendable {
    /// A byte.
    public typealias Element = UInt8

    private let body: Body

    init(_ transfer: Transfer) { body = Body(transfer) }

    /// The body in parts, as they arrived.
    public var chunks: Chunks { Chunks(body: body) }

    /// Begins to read.
    public func makeAsyncIterator() -> Iterator { Iterator(body: body) }

    /// Reads a body byte by byte.
    public struct Iterator: AsyncIteratorProtocol {
        fileprivate let body: Body
        private var held = Data()[...]

        fileprivate init(body: Body) { self.body = body }

        /// The next byte; nil after the last one.
        ///
        /// - Throws: what `URLSession` throws.
        public mutating func next() async throws -> UInt8? {
            while held.isEmpty {
                guard let part = try await body.transfer.part() else { return nil }
                held = part[...]
            }
            return held.popFirst()
        }
    }

    /// The body of a response in parts, as they arrive.
    public struct Chunks: AsyncSequence, Sendable {
        /// A part.
        public typealias Element = Data

        fileprivate let body: Body

        /// Begins to read.
        public func makeAsyncIterator() -> Iterator { Iterator(body: body) }

        /// Reads a body part by part.
        public struct Iterator: AsyncIteratorProtocol {
            fileprivate let body: Body

            /// The next part; nil after the last one.
            ///
            /// - Throws: as reading byte by byte.
            public mutating func next() async throws -> Data? { try await body.transfer.part() }
        }
    }

    /// Gives the connection back with the last that reads it.
    fileprivate final class Body: Sendable {
        let transfer: Transfer

        init(_ transfer: Transfer) { self.transfer = transfer }

        deinit { transfer.drop() }
    }
}
