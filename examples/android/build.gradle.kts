// The outline of an app. It compiles in the release workflow, after the native libraries were built.
plugins {
    id("com.android.application") version "8.13.0"
    id("org.jetbrains.kotlin.android") version "2.4.21"
}

android {
    namespace = "dev.keyswap.example"
    compileSdk = 36
    defaultConfig {
        applicationId = "dev.keyswap.example"
        minSdk = 26
        targetSdk = 36
        versionCode = 1
        versionName = "1"
    }
    buildTypes { release { isMinifyEnabled = true } }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
    kotlinOptions { jvmTarget = "11" }
}

dependencies {
    implementation("dev.keyswap:keyswap-android:0.1.0")
    implementation("com.squareup.okhttp3:okhttp:5.5.1")
    implementation("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.11.0")
}
