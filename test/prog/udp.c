/*
 * Answers every UDP datagram that arrives at a port with "udp answer PORT", from the address asked.
 * usage: udp PORT
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct sockaddr_in me = {.sin_family = AF_INET,
				 .sin_port = htons((in_port_t)strtol(argv[1], NULL, 10))};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char buffer[1500], answer[32];
	int n_answer =
		snprintf(answer, sizeof(answer), "udp answer %s\n", argc == 2 ? argv[1] : "");

	if (argc != 2 || fd < 0 || bind(fd, (struct sockaddr *)&me, sizeof(me)) < 0)
		return 1;
	for (;;) {
		struct sockaddr_storage from;
		socklen_t n = sizeof(from);
		if (recvfrom(fd, buffer, sizeof(buffer), 0, (struct sockaddr *)&from, &n) >= 0)
			(void)sendto(fd, answer, (size_t)n_answer, 0, (struct sockaddr *)&from, n);
	}
}
