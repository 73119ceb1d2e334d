// swift-tools-version: 6.0
//
// The outline of an app. It compiles in the release workflow; open this folder in Xcode to run it.
import PackageDescription

let package = Package(
    name: "Prices",
    platforms: [.iOS(.v16)],
    products: [.library(name: "Prices", targets: ["Prices"])],
    dependencies: [.package(path: "../../bindings/swift")],
    targets: [.target(name: "Prices", dependencies: [.product(name: "Keyswap", package: "swift")])]
)
