// The AAR: the classes of the jar from the same sources, what only Android has, and the native library of each kind of
// processor, which the release workflow puts into src/main/jniLibs. It is built there: this needs the Android SDK.
plugins {
    id("com.android.library") version "8.13.0"
    id("org.jetbrains.kotlin.android") version "2.4.21"
}

group = "dev.keyswap"
version = "0.1.0"

android {
    namespace = "dev.keyswap"
    compileSdk = 36
    defaultConfig {
        // The API has times of java.time, which Android has since then.
        minSdk = 26
        consumerProguardFiles("consumer-rules.pro")
    }
    sourceSets["main"].kotlin.srcDirs("../src/main/kotlin", "../target/generated/dev", "src/main/kotlin")
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
    kotlinOptions { jvmTarget = "11" }
}

dependencies {
    api("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.11.0")
    implementation("net.java.dev.jna:jna:5.19.1@aar")
    compileOnly("com.squareup.okhttp3:okhttp:5.5.1")
    compileOnly("io.ktor:ktor-client-core:3.5.2")
}
