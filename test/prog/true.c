/*
 * The smallest program: ends with 0. What it takes to start a container around nothing.
 */
int main(void)
{
	return 0;
}
