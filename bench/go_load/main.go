// A load generator: sends one request again and again on connections that are kept, and waits for each answer.
//
//	go-load PORT CONNECTIONS SECONDS COUNT < REQUEST
//
// It ends after so many seconds, or, where COUNT is not 0, after so many requests; and prints how many were answered.
// Any answer but a 200 ends it with an error.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

var (
	good   = []byte("HTTP/1.1 200")
	length = []byte("content-length: ")
)

func read(answers *bufio.Reader) error {
	body := -1
	for first := true; ; first = false {
		line, err := answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, good) {
			return fmt.Errorf("answered %q", line)
		}
		if len(line) > len(length) && bytes.EqualFold(line[:len(length)], length) {
			if body, err = strconv.Atoi(string(bytes.TrimSpace(line[len(length):]))); err != nil {
				return err
			}
		}
		if len(line) == 2 {
			break
		}
	}
	_, err := answers.Discard(body)
	return err
}

func main() {
	number := func(at int) int64 {
		value, err := strconv.ParseInt(os.Args[at], 10, 64)
		if err != nil {
			log.Fatal(err)
		}
		return value
	}
	connections, end, count := number(2), time.Now().Add(time.Duration(number(3))*time.Second), number(4)
	request, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	var asked, answered atomic.Int64
	var all sync.WaitGroup
	for i := int64(0); i < connections; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			stream, err := net.Dial("tcp", "127.0.0.1:"+os.Args[1])
			if err != nil {
				log.Fatal(err)
			}
			defer stream.Close()
			answers := bufio.NewReader(stream)
			for count == 0 && time.Now().Before(end) || count != 0 && asked.Add(1) <= count {
				if _, err := stream.Write(request); err != nil {
					log.Fatal(err)
				}
				if err := read(answers); err != nil {
					log.Fatal(err)
				}
				answered.Add(1)
			}
		}()
	}
	all.Wait()
	fmt.Println(answered.Load())
}
