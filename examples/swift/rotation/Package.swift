// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "Rotation",
    platforms: [.macOS(.v13)],
    dependencies: [.package(path: "../../../bindings/swift")],
    targets: [
        .executableTarget(name: "First", dependencies: [.product(name: "Keyswap", package: "swift")]),
        .executableTarget(name: "Rotation", dependencies: [.product(name: "Keyswap", package: "swift")]),
    ]
)
