/*
 * Sends a process's TCP connections on loopback through proxies (LD_PRELOAD): KIN_REDIRECT is "port=proxy,port=proxy…"; whoever
 * it dials at 127.0.0.1:port, it reaches at 127.0.0.1:proxy. So a test can cut two nodes from each other that know each other's ports.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int proxy_of(int port) {
  const char *at = getenv("KIN_REDIRECT");
  while (at && *at) {
    char *end;
    long from = strtol(at, &end, 10);
    long to = *end == '=' ? strtol(end + 1, &end, 10) : 0;
    if (from == port) return (int)to;
    at = *end == ',' ? end + 1 : NULL;
  }
  return port;
}

int connect(int fd, const struct sockaddr *address, socklen_t length) {
  int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
  if (address->sa_family != AF_INET) return next(fd, address, length);
  struct sockaddr_in copy;
  memcpy(&copy, address, sizeof copy);
  if (copy.sin_addr.s_addr == htonl(INADDR_LOOPBACK)) copy.sin_port = htons(proxy_of(ntohs(copy.sin_port)));
  return next(fd, (struct sockaddr *)&copy, sizeof copy);
}
