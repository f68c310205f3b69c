// SPDX-License-Identifier: MIT

// Tls serves HTTPS from files, with the library.
package main

import (
	"context"
	"net/http"

	"github.com/entrypoint-go/entrypoint/pid1"
)

func main() {
	pid1.Exit(pid1.Run(context.Background(), pid1.TLS(&http.Server{Addr: ":8443"}, "cert.pem", "key.pem")))
}
