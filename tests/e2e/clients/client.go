// Sends what Go's net/http sends by itself: no Accept header, and bodies of unknown length in chunks.
// Arguments: base URL, file, path of the instance. Prints a line for each request: name, status, media type, length.
package main

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
)

func report(name string, response *http.Response, err error) {
	if err != nil {
		fmt.Println(name, err)
		os.Exit(1)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		fmt.Println(name, err)
		os.Exit(1)
	}
	mediaType, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	fmt.Println(name, response.StatusCode, mediaType, len(body))
}

func main() {
	base, file, instance := os.Args[1], os.Args[2], os.Args[3]
	data, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"store", "store-again"} {
		response, err := http.Post(base+"/studies", "application/dicom", bytes.NewReader(data))
		report(name, response, err)
	}
	reader, writer := io.Pipe()
	go func() {
		fmt.Fprintf(writer, "--b\r\nContent-Type: application/dicom\r\n\r\n")
		writer.Write(data)
		fmt.Fprintf(writer, "\r\n--b--\r\n")
		writer.Close()
	}()
	response, err := http.Post(base+"/studies", `multipart/related; type="application/dicom"; boundary=b`, reader)
	report("store-in-chunks", response, err)
	for _, request := range [][2]string{
		{"search", "/studies"},
		{"metadata", instance + "/metadata"},
		{"instance", instance},
		{"frame", instance + "/frames/1"},
		{"bulk-data", instance + "/bulkdata/7FE00010"},
		{"rendered", instance + "/rendered"},
		{"thumbnail", instance + "/thumbnail"},
		{"changes", "/changefeed"},
	} {
		response, err := http.Get(base + request[1])
		report(request[0], response, err)
	}
}
