// SPDX-License-Identifier: MIT

package main

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// A job is what one server process is started for. It travels as an argument.
type job struct {
	Subject string
	Addr    string // where it listens; empty: on the loopback interface, as the pipe tells
	TLS     bool   // and HTTP/2 over it
	Grace   time.Duration
}

// A message is what the server process says on its pipe, in JSON, one of these
// at a time.
type message struct {
	Addr     string // connections are accepted there
	Seen     int    // the number of a request that reached a handler
	Returned bool   // the subject has
}

// pipeFile is the descriptor of the pipe.
const pipeFile = 3

// What clients and servers agree on.
const (
	idHeader  = "Request-Id" // a number, from 1
	pidHeader = "Server-Pid" // of who answers
	answer    = "done\n"
)

// serverMain is the server process.
func serverMain(j job) error {
	pipe := json.NewEncoder(io.Discard)
	if j.Addr == "" {
		pipe = json.NewEncoder(os.NewFile(pipeFile, "pipe"))
	}
	h := &handler{pipe: pipe}
	srv := &http.Server{
		Addr:     cmp.Or(j.Addr, "127.0.0.1:0"),
		Handler:  h,
		ErrorLog: log.New(io.Discard, "", 0),
		BaseContext: func(l net.Listener) context.Context {
			pipe.Encode(message{Addr: l.Addr().String()})
			return context.Background()
		},
	}
	if j.TLS {
		cert, err := selfSigned()
		if err != nil {
			return err
		}
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
	}
	err := subjects[j.Subject](srv, j.Grace)
	h.say(message{Returned: true})
	return err
}

// handler answers every request, and tells of those with a number.
type handler struct {
	mu   sync.Mutex // guards pipe
	pipe *json.Encoder
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id, err := strconv.Atoi(r.Header.Get(idHeader)); err == nil {
		h.say(message{Seen: id})
		time.Sleep(time.Millisecond)
	}
	io.Copy(io.Discard, r.Body)
	w.Header().Set(pidHeader, strconv.Itoa(os.Getpid()))

	if size, err := strconv.Atoi(r.URL.Query().Get("size")); err == nil {
		w.Write(make([]byte, size))
		return
	}

	// The header goes out first: the client then knows that the handler runs.
	if slow, err := time.ParseDuration(r.URL.Query().Get("slow")); err == nil {
		http.NewResponseController(w).Flush()
		time.Sleep(slow)
	}
	io.WriteString(w, answer)
}

func (h *handler) say(m message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pipe.Encode(m)
}

// selfSigned makes a certificate that only this program's clients accept.
func selfSigned() (cert tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
