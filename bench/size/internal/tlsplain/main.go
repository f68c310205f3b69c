// SPDX-License-Identifier: MIT

// Tlsplain is tls without the library.
package main

import (
	"log/slog"
	"net/http"
	"os"
)

func main() {
	err := http.ListenAndServeTLS(":8443", "cert.pem", "key.pem", nil)
	slog.Error("stopped", "error", err)
	os.Exit(1)
}
