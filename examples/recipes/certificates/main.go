// SPDX-License-Identifier: MIT

// Certificates: a scratch image has no /etc/ssl. This import puts Mozilla's CA
// certificates into the program, for when the image has none.
package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	_ "golang.org/x/crypto/x509roots/fallback"
)

func main() {
	var app pid1.App
	app.Before("CA certificates", func(context.Context) error {
		roots, err := x509.SystemCertPool()
		if err == nil && roots.Equal(x509.NewCertPool()) {
			err = fmt.Errorf("there are none in this image: copy /etc/ssl/certs/ca-certificates.crt")
		}
		return err
	})
	srv := &http.Server{Addr: os.Getenv("ADDR"), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		w.Write([]byte("done\n"))
	})}
	pid1.Exit(app.Run(context.Background(), srv))
}
