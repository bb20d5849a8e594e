// The yardstick: the same document behind the same kind of token check, served by Go's net/http as anybody would
// write it. It prints its port and serves on loopback until it is killed.
package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

const (
	prefix = "/latest/meta-data/iam/security-credentials/"
	role   = "Deploy"
)

var key = make([]byte, 32)

func seal(content []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(content)
	return mac.Sum(nil)
}

func issue(ttl int) string {
	content := make([]byte, 16)
	binary.BigEndian.PutUint64(content, uint64(time.Now().Unix()+int64(ttl)))
	rand.Read(content[8:])
	return base64.RawURLEncoding.EncodeToString(append(content, seal(content)...))
}

func valid(token string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != 48 || !hmac.Equal(raw[16:], seal(raw[:16])) {
		return false
	}
	return uint64(time.Now().Unix()) < binary.BigEndian.Uint64(raw)
}

func main() {
	document, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/latest/api/token", func(w http.ResponseWriter, r *http.Request) {
		ttl, err := strconv.Atoi(r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
		if r.Method != http.MethodPut || err != nil {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", strconv.Itoa(ttl))
		fmt.Fprint(w, issue(ttl))
	})
	http.HandleFunc(prefix+role, func(w http.ResponseWriter, r *http.Request) {
		if !valid(r.Header.Get("X-Aws-Ec2-Metadata-Token")) {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Length", strconv.Itoa(len(document)))
		w.Write(document)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(listener, nil))
}
