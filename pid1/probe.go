package pid1

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"
)

// probeTimeout is less than the 30 s of HEALTHCHECK, and more than a slow check.
const probeTimeout = 3 * time.Second

// Probe asks url once, by GET, and returns an error unless the status is from 200
// to 399 within 3 seconds. It is for HEALTHCHECK in an image that has no curl:
//
//	HEALTHCHECK CMD ["/service", "healthcheck"]
//
//	pid1.Exit(pid1.Probe("http://127.0.0.1:8080/readyz"))
//
// As in a probe of Kubernetes, certificates are not verified, redirects are not
// followed, and no proxy is used. The error has the first line of the body that
// follows "not ready", see [App.ReadyHandler]; its exit code is 1.
//
// Only programs that call Probe link the client side of net/http.
func Probe(url string) error {
	client := &http.Client{
		Timeout: probeTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // it asks itself
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Get(url)
	if err != nil {
		return fmt.Errorf("pid1: Probe: %v", err) // not %w: a timeout would have an exit code of its own
	}
	defer res.Body.Close()
	if res.StatusCode >= 200 && res.StatusCode < 400 {
		return nil
	}
	reason := ""
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if reason = lines.Text(); reason != "not ready" {
			break
		}
	}
	return fmt.Errorf("pid1: Probe: GET %s: %s: %.200q", url, res.Status, reason)
}
