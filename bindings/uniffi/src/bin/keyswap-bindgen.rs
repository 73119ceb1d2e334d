//! Writes the Kotlin and the Swift half from the library that was built.

fn main() {
    uniffi::uniffi_bindgen_main();
}
