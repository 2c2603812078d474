"""Options of this folder's Python tests."""


def pytest_addoption(parser):
    parser.addoption('--parity', required=True,
                     help='path of the program heatkv_parity')
