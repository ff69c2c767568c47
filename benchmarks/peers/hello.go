// Copyright (c) the twisted_fastcgi authors.
// See LICENSE for details.

// The smallest page, served by Go's net/http/fcgi.
package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"strings"
)

func hello(response http.ResponseWriter, request *http.Request) {
	response.Header().Set("Content-Type", "text/plain")
	response.Header().Set("Content-Length", "5")
	io.WriteString(response, "hello")
}

func main() {
	network, address, _ := strings.Cut(os.Args[1], ":")
	if network == "tcp" {
		address = "127.0.0.1:" + address
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(fcgi.Serve(listener, http.HandlerFunc(hello)))
}
